"""The part of CRI v1 that the tests speak: messages and methods made from a table of fields, as for etcd.

The numbers are those of Kubernetes' ``api.proto``. A map from text to text is a repeated ``KeyValue``, and an
enumeration an int32: the bytes on the wire are the same.
"""

from __future__ import annotations

from typing import Any

import grpc

from calico.datastore.etcd.wire import message_classes

__all__ = ["Cri", "message"]

# message -> "name:number:type"; a leading "*" means repeated; a type with a capital letter is a message.
_FIELDS = {
    "KeyValue": "key:1:string value:2:string",
    "NamespaceOption": "network:1:int32 pid:2:int32",
    "SandboxSecurity": "namespace_options:1:NamespaceOption",
    "LinuxSandbox": "cgroup_parent:1:string security_context:2:SandboxSecurity",
    "PodSandboxMetadata": "name:1:string uid:2:string namespace:3:string attempt:4:uint32",
    "PortMapping": "protocol:1:int32 container_port:2:int32 host_port:3:int32 host_ip:4:string",
    "PodSandboxConfig": "metadata:1:PodSandboxMetadata hostname:2:string log_directory:3:string "
    "*port_mappings:5:PortMapping *labels:6:KeyValue *annotations:7:KeyValue linux:8:LinuxSandbox",
    "RunPodSandboxRequest": "config:1:PodSandboxConfig runtime_handler:2:string",
    "RunPodSandboxResponse": "pod_sandbox_id:1:string",
    "StopPodSandboxRequest": "pod_sandbox_id:1:string",
    "StopPodSandboxResponse": "",
    "RemovePodSandboxRequest": "pod_sandbox_id:1:string",
    "RemovePodSandboxResponse": "",
    "PodIP": "ip:1:string",
    "NetworkStatus": "ip:1:string *additional_ips:2:PodIP",
    "PodSandboxStatus": "id:1:string metadata:2:PodSandboxMetadata state:3:int32 network:5:NetworkStatus",
    "PodSandboxStatusRequest": "pod_sandbox_id:1:string verbose:2:bool",
    "PodSandboxStatusResponse": "status:1:PodSandboxStatus *info:2:KeyValue",
    "PodSandbox": "id:1:string metadata:2:PodSandboxMetadata state:3:int32",
    "ListPodSandboxRequest": "",
    "ListPodSandboxResponse": "*items:1:PodSandbox",
    "ContainerMetadata": "name:1:string attempt:2:uint32",
    "ImageSpec": "image:1:string",
    "ContainerConfig": "metadata:1:ContainerMetadata image:2:ImageSpec *command:3:string *args:4:string "
    "log_path:11:string",
    "CreateContainerRequest": "pod_sandbox_id:1:string config:2:ContainerConfig sandbox_config:3:PodSandboxConfig",
    "CreateContainerResponse": "container_id:1:string",
    "StartContainerRequest": "container_id:1:string",
    "StartContainerResponse": "",
    "ExecSyncRequest": "container_id:1:string *cmd:2:string timeout:3:int64",
    "ExecSyncResponse": "stdout:1:bytes stderr:2:bytes exit_code:3:int32",
    "RuntimeCondition": "type:1:string status:2:bool reason:3:string message:4:string",
    "RuntimeStatus": "*conditions:1:RuntimeCondition",
    "StatusRequest": "",
    "StatusResponse": "status:1:RuntimeStatus",
}
_PACKAGE = "runtime.v1"
_CLASSES = message_classes(_PACKAGE, _FIELDS)


def message(_name: str, **fields: Any) -> Any:
    """A message of the table with these fields."""
    return _CLASSES[_name](**fields)


class Cri:
    """A client of a runtime's socket, as the kubelet is one."""

    def __init__(self, socket: str) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}", options=[("grpc.default_authority", "localhost")])

    def call(self, method: str, timeout: float = 60, **fields: Any) -> Any:
        """The answer to one request; ``grpc.RpcError`` is what the runtime refuses."""
        rpc = self._channel.unary_unary(
            f"/{_PACKAGE}.RuntimeService/{method}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=_CLASSES[f"{method}Response"].FromString,
        )
        return rpc(message(f"{method}Request", **fields), timeout=timeout)

    def close(self) -> None:
        self._channel.close()
