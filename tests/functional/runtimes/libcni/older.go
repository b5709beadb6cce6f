//go:build !libcni_1_3

package main

import (
	"context"
	"fmt"

	"github.com/containernetworking/cni/libcni"
)

func newer(_ context.Context, command string, _ *libcni.CNIConfig, _ *libcni.NetworkConfigList, _ string) error {
	return fmt.Errorf("this libcni does not know %s", command)
}
