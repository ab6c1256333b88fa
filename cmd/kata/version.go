package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which version of the course and of Go this is",
		Long:    "Version says which commit the tool was built from, by which Go, and for which system: what a bug report wants to know.",
		Example: "  go tool kata version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				info = &debug.BuildInfo{}
			}
			version, changed := info.Main.Version, ""
			for _, s := range info.Settings {
				switch {
				case s.Key == "vcs.revision" && len(s.Value) >= 12:
					version = s.Value[:12]
				case s.Key == "vcs.modified" && s.Value == "true":
					changed = " with changes"
				}
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "kata %s%s, %s %s/%s\n", cmp.Or(version, "(devel)"), changed, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
