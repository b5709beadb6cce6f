// A container runtime that does nothing but call CNI plugins, through the library that real runtimes use.
// GC and STATUS are in newer.go, for a library that has them.
// usage: runner COMMAND CONFLIST PLUGIN_DIRS CACHE_DIR CONTAINER_ID NETNS IFNAME [CNI_ARGS [CAPABILITY_ARGS_JSON]]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

func run(args []string) error {
	command, rest := args[0], args[6:]
	list, err := libcni.ConfListFromFile(args[1])
	if err != nil {
		return err
	}
	config := libcni.NewCNIConfigWithCacheDir(strings.Split(args[2], ":"), args[3], nil)
	ctx := context.Background()
	if command == "gc" || command == "status" {
		return newer(ctx, command, config, list, args[len(args)-1])
	}
	rt := &libcni.RuntimeConf{ContainerID: args[4], NetNS: args[5], IfName: rest[0]}
	if len(rest) > 1 && rest[1] != "" {
		for _, pair := range strings.Split(rest[1], ";") {
			key, value, _ := strings.Cut(pair, "=")
			rt.Args = append(rt.Args, [2]string{key, value})
		}
	}
	if len(rest) > 2 {
		if err := json.Unmarshal([]byte(rest[2]), &rt.CapabilityArgs); err != nil {
			return err
		}
	}
	switch command {
	case "add":
		result, err := config.AddNetworkList(ctx, list, rt)
		if err != nil {
			return err
		}
		return result.Print()
	case "check":
		return config.CheckNetworkList(ctx, list, rt)
	case "del":
		return config.DelNetworkList(ctx, list, rt)
	}
	return fmt.Errorf("this libcni does not know %s", command)
}

func main() {
	if len(os.Args) < 8 {
		fmt.Fprintln(os.Stderr, "usage: runner COMMAND CONFLIST PLUGIN_DIRS CACHE_DIR ID NETNS IFNAME [ARGS [CAPABILITIES]]")
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		var told *types.Error
		if errors.As(err, &told) {
			json.NewEncoder(os.Stdout).Encode(told)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
