package judge

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

// unpack writes an archive into a new directory.
func unpack(t *testing.T, name string) string {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	require.NoError(t, err)
	root := t.TempDir()
	write(t, root, archive.Files)
	return root
}

func write(t *testing.T, root string, files []txtar.File) {
	t.Helper()
	for _, f := range files {
		file := filepath.Join(root, filepath.FromSlash(f.Name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, f.Data, 0o644))
	}
}
