//go:build cni11

package main

import (
	"context"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

func init() {
	modern["status"] = func(ctx context.Context, c *libcni.CNIConfig, l *libcni.NetworkConfigList, _ []string) error {
		return c.GetStatusNetworkList(ctx, l)
	}
	// gc VALID: space-separated CONTAINER_ID/IFNAME of the attachments that still live
	modern["gc"] = func(ctx context.Context, c *libcni.CNIConfig, l *libcni.NetworkConfigList, rest []string) error {
		args := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}
		for _, one := range strings.Fields(strings.Join(rest, " ")) {
			id, ifname, _ := strings.Cut(one, "/")
			args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: id, IfName: ifname})
		}
		return c.GCNetworkList(ctx, l, args)
	}
}
