// Command kubectl is Kubernetes' own, built from its module: see ../README.md for why.
package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		// Says it as kubectl does, and ends with the code that belongs to it.
		util.CheckErr(err)
	}
}
