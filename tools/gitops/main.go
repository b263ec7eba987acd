// Command gitops judges an object as GitOps tools do, with their own code: kstatus (Flux, Helm and
// kubectl) and Argo CD with a health check in Lua.
//
//	gitops HEALTH.lua < OBJECT.json     prints {"kstatus": …, "argocd": …, "message": …}
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/argoproj/argo-cd/v3/util/lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gitops:", err)
		os.Exit(1)
	}
}

func run() error {
	script, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{}
	if err := json.NewDecoder(os.Stdin).Decode(object); err != nil {
		return err
	}
	computed, err := status.Compute(object)
	if err != nil {
		return err
	}
	health, err := lua.VM{}.ExecuteHealthLua(object, string(script))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]string{
		"kstatus": string(computed.Status),
		"argocd":  string(health.Status),
		"message": health.Message,
	})
}
