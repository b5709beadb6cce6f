//go:build libcni_1_3

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// What the library knows since CNI 1.1.0. valid is a JSON list of the attachments that stay.
func newer(ctx context.Context, command string, config *libcni.CNIConfig, list *libcni.NetworkConfigList, valid string) error {
	switch command {
	case "gc":
		args := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}
		if err := json.Unmarshal([]byte(valid), &args.ValidAttachments); err != nil {
			return err
		}
		return config.GCNetworkList(ctx, list, args)
	case "status":
		return config.GetStatusNetworkList(ctx, list)
	}
	return fmt.Errorf("there is no command %s", command)
}
