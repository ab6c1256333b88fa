package harness

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/kafka-katas/kafka-katas/harness/internal/supervise"
)

// Dir is a folder that outlives the process: the next life under the same name finds in it what this one had written
// by the moment of its crash or stop. What a crashed process writes afterwards is not seen by anyone.
func (p *Process) Dir() string {
	p.mu.Lock()
	dir := p.dir
	p.mu.Unlock()
	if dir != "" {
		return dir
	}
	scratch := p.w.test.TempDir()
	supervise.Scratch(scratch)
	dir, err := os.MkdirTemp(scratch, "disk")
	p.w.arrange(err)
	if old := p.w.disk(p.Name); old != "" {
		p.w.arrange(os.CopyFS(dir, os.DirFS(old)))
	}
	p.mu.Lock()
	p.dir = dir
	p.mu.Unlock()
	return dir
}

// disk is the newest state of the folder of an earlier life.
func (w *World) disk(name string) string {
	w.mu.Lock()
	processes := slices.Clone(w.processes) // a process's lock is never taken under the world's
	w.mu.Unlock()
	for _, p := range slices.Backward(processes) {
		p.mu.Lock()
		dir := p.dir
		p.mu.Unlock()
		if p.Name == name && dir != "" {
			return dir
		}
	}
	return ""
}

// snapshotDir freezes the process's folder at the moment of its crash: the process keeps writing into the old one.
func (p *life) snapshotDir() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir == "" {
		return
	}
	frozen := filepath.Join(filepath.Dir(p.dir), filepath.Base(p.dir)+"-at-crash")
	if err := os.CopyFS(frozen, os.DirFS(p.dir)); err != nil {
		p.w.Errorf("the disk of %s could not be kept as it was at its crash, so what its next life finds there would prove nothing: %v", p.Name, err)
		return
	}
	p.dir = frozen
}
