package judge

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheWordsAreThoseOfTheHarness(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../harness/breach.go", nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var theirs []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "words" {
			return true
		}
		for _, entry := range spec.Values[0].(*ast.CompositeLit).Elts {
			word, err := strconv.Unquote(entry.(*ast.CompositeLit).Elts[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			theirs = append(theirs, word)
		}
		return false
	})
	require.Equal(t, theirs, words)
}
