package judge

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// hold makes an empty directory exist until release. The go command runs a test in its package's directory, and the
// directory of a mistake exists in the overlay alone. A placeholder says that somebody is in there: two judges may be
// at work in one tree, and the last one out takes the directory away.
func hold(dir string) (release func(), err error) {
	for range 10 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		f, err := os.CreateTemp(dir, ".in-use-*")
		if errors.Is(err, fs.ErrNotExist) {
			continue // another judge left, just now
		}
		if err != nil {
			return nil, err
		}
		f.Close()
		return func() {
			os.Remove(f.Name())
			os.Remove(dir) // fails, as it should, while another judge is in there
		}, nil
	}
	return nil, errors.New("cannot keep " + filepath.Base(dir) + ": it is taken away again and again")
}
