"""etcd's protobuf messages and methods, made from a table of fields at import: no protoc, no generated code.

The classes live in a private descriptor pool, so other etcd libraries in the process do not clash with them. The
table follows etcd's ``rpc.proto`` and ``kv.proto``; it is declared as proto2 so that every scalar knows whether it
was set (etcd's ``oneof`` fields need an explicit zero), which does not change a byte of what is sent for set fields.
Enumerations are written as int32, which has the same wire form. Only what this package uses is listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["DELETE", "EQUAL", "METHODS", "MOD", "Method", "key_of", "message", "message_classes", "raw_key"]

EQUAL = 0  # Compare.CompareResult
MOD = 2  # Compare.CompareTarget
DELETE = 1  # Event.EventType

# message -> "name:number:type"; a leading "*" means repeated; a type with a capital letter is a message.
FIELDS: dict[str, str] = {
    "ResponseHeader": "cluster_id:1:uint64 member_id:2:uint64 revision:3:int64 raft_term:4:uint64",
    "KeyValue": "key:1:bytes create_revision:2:int64 mod_revision:3:int64 version:4:int64 value:5:bytes lease:6:int64",
    "Event": "type:1:int32 kv:2:KeyValue prev_kv:3:KeyValue",
    "RangeRequest": "key:1:bytes range_end:2:bytes limit:3:int64 revision:4:int64 sort_order:5:int32 "
    "sort_target:6:int32 serializable:7:bool keys_only:8:bool count_only:9:bool min_create_revision:12:int64",
    "RangeResponse": "header:1:ResponseHeader *kvs:2:KeyValue more:3:bool count:4:int64",
    "PutRequest": "key:1:bytes value:2:bytes lease:3:int64 prev_kv:4:bool ignore_value:5:bool ignore_lease:6:bool",
    "PutResponse": "header:1:ResponseHeader prev_kv:2:KeyValue",
    "DeleteRangeRequest": "key:1:bytes range_end:2:bytes prev_kv:3:bool",
    "DeleteRangeResponse": "header:1:ResponseHeader deleted:2:int64 *prev_kvs:3:KeyValue",
    "RequestOp": "request_range:1:RangeRequest request_put:2:PutRequest request_delete_range:3:DeleteRangeRequest",
    "ResponseOp": "response_range:1:RangeResponse response_put:2:PutResponse "
    "response_delete_range:3:DeleteRangeResponse",
    "Compare": "result:1:int32 target:2:int32 key:3:bytes version:4:int64 create_revision:5:int64 "
    "mod_revision:6:int64 value:7:bytes lease:8:int64 range_end:64:bytes",
    "TxnRequest": "*compare:1:Compare *success:2:RequestOp *failure:3:RequestOp",
    "TxnResponse": "header:1:ResponseHeader succeeded:2:bool *responses:3:ResponseOp",
    "CompactionRequest": "revision:1:int64 physical:2:bool",
    "CompactionResponse": "header:1:ResponseHeader",
    "WatchRequest": "create_request:1:WatchCreateRequest cancel_request:2:WatchCancelRequest "
    "progress_request:3:WatchProgressRequest",
    "WatchCreateRequest": "key:1:bytes range_end:2:bytes start_revision:3:int64 progress_notify:4:bool "
    "*filters:5:int32 prev_kv:6:bool watch_id:7:int64 fragment:8:bool",
    "WatchCancelRequest": "watch_id:1:int64",
    "WatchProgressRequest": "",
    "WatchResponse": "header:1:ResponseHeader watch_id:2:int64 created:3:bool canceled:4:bool "
    "compact_revision:5:int64 cancel_reason:6:string fragment:7:bool *events:11:Event",
    "LeaseGrantRequest": "TTL:1:int64 ID:2:int64",
    "LeaseGrantResponse": "header:1:ResponseHeader ID:2:int64 TTL:3:int64 error:4:string",
    "LeaseRevokeRequest": "ID:1:int64",
    "LeaseRevokeResponse": "header:1:ResponseHeader",
    "LeaseKeepAliveRequest": "ID:1:int64",
    "LeaseKeepAliveResponse": "header:1:ResponseHeader ID:2:int64 TTL:3:int64",
    "AuthenticateRequest": "name:1:string password:2:string",
    "AuthenticateResponse": "header:1:ResponseHeader token:2:string",
    "Member": "ID:1:uint64 name:2:string *peerURLs:3:string *clientURLs:4:string isLearner:5:bool",
    "MemberListRequest": "",
    "MemberListResponse": "header:1:ResponseHeader *members:2:Member",
    "MemberAddRequest": "*peerURLs:1:string isLearner:2:bool",
    "MemberAddResponse": "header:1:ResponseHeader member:2:Member *members:3:Member",
    "MemberRemoveRequest": "ID:1:uint64",
    "MemberRemoveResponse": "header:1:ResponseHeader *members:2:Member",
    "AlarmRequest": "action:1:int32 memberID:2:uint64 alarm:3:int32",
    "AlarmMember": "memberID:1:uint64 alarm:2:int32",
    "AlarmResponse": "header:1:ResponseHeader *alarms:2:AlarmMember",
    "DefragmentRequest": "",
    "DefragmentResponse": "header:1:ResponseHeader",
    "SnapshotRequest": "",
    "SnapshotResponse": "header:1:ResponseHeader remaining_bytes:2:uint64 blob:3:bytes",
    "AuthEnableRequest": "",
    "AuthEnableResponse": "header:1:ResponseHeader",
    "UserAddOptions": "no_password:1:bool",
    "AuthUserAddRequest": "name:1:string password:2:string options:3:UserAddOptions",
    "AuthUserAddResponse": "header:1:ResponseHeader",
    "AuthUserGetRequest": "name:1:string",
    "AuthUserGetResponse": "header:1:ResponseHeader *roles:2:string",
    "AuthUserListRequest": "",
    "AuthUserListResponse": "header:1:ResponseHeader *users:2:string",
    "AuthUserDeleteRequest": "name:1:string",
    "AuthUserDeleteResponse": "header:1:ResponseHeader",
    "AuthUserChangePasswordRequest": "name:1:string password:2:string",
    "AuthUserChangePasswordResponse": "header:1:ResponseHeader",
    "AuthUserGrantRoleRequest": "user:1:string role:2:string",
    "AuthUserGrantRoleResponse": "header:1:ResponseHeader",
    "AuthUserRevokeRoleRequest": "name:1:string role:2:string",
    "AuthUserRevokeRoleResponse": "header:1:ResponseHeader",
    "Permission": "permType:1:int32 key:2:bytes range_end:3:bytes",
    "AuthRoleAddRequest": "name:1:string",
    "AuthRoleAddResponse": "header:1:ResponseHeader",
    "AuthRoleGetRequest": "role:1:string",
    "AuthRoleGetResponse": "header:1:ResponseHeader *perm:2:Permission",
    "AuthRoleListRequest": "",
    "AuthRoleListResponse": "header:1:ResponseHeader *roles:2:string",
    "AuthRoleDeleteRequest": "role:1:string",
    "AuthRoleDeleteResponse": "header:1:ResponseHeader",
    "AuthRoleGrantPermissionRequest": "name:1:string perm:2:Permission",
    "AuthRoleGrantPermissionResponse": "header:1:ResponseHeader",
    "AuthRoleRevokePermissionRequest": "role:1:string key:2:bytes range_end:3:bytes",
    "AuthRoleRevokePermissionResponse": "header:1:ResponseHeader",
    "StatusRequest": "",
    "StatusResponse": "header:1:ResponseHeader version:2:string dbSize:3:int64 leader:4:uint64 raftIndex:5:uint64 "
    "raftTerm:6:uint64 raftAppliedIndex:7:uint64 *errors:8:string dbSizeInUse:9:int64 isLearner:10:bool",
}


class Method(NamedTuple):
    """One RPC: its path and the two message names. ``writes``: an answer that is lost leaves its effect unknown."""

    path: str
    request: str
    response: str
    stream: bool = False
    writes: bool = False


def _method(service: str, name: str, message: str = "", *, stream: bool = False, writes: bool = False) -> Method:
    stem = message or name
    return Method(f"/etcdserverpb.{service}/{name}", f"{stem}Request", f"{stem}Response", stream, writes)


_AUTH_CHANGES = (
    *("UserAdd", "UserDelete", "UserChangePassword", "UserGrantRole", "UserRevokeRole"),
    *("RoleAdd", "RoleDelete", "RoleGrantPermission", "RoleRevokePermission"),
)
METHODS: dict[str, Method] = {
    "Range": _method("KV", "Range"),
    "Put": _method("KV", "Put", writes=True),
    "DeleteRange": _method("KV", "DeleteRange", writes=True),
    "Txn": _method("KV", "Txn", writes=True),
    "ReadTxn": _method("KV", "Txn"),
    "Compact": _method("KV", "Compact", "Compaction"),
    "Watch": _method("Watch", "Watch", stream=True),
    "LeaseGrant": _method("Lease", "LeaseGrant"),
    "LeaseRevoke": _method("Lease", "LeaseRevoke"),
    "LeaseKeepAlive": _method("Lease", "LeaseKeepAlive", stream=True),
    "Authenticate": _method("Auth", "Authenticate"),
    "MemberList": _method("Cluster", "MemberList"),
    "MemberAdd": _method("Cluster", "MemberAdd", writes=True),
    "MemberRemove": _method("Cluster", "MemberRemove", writes=True),
    "Alarm": _method("Maintenance", "Alarm"),
    "Defragment": _method("Maintenance", "Defragment"),
    "Snapshot": _method("Maintenance", "Snapshot", stream=True),
    "Status": _method("Maintenance", "Status"),
    **{name: _method("Auth", name, f"Auth{name}") for name in ("UserGet", "UserList", "RoleGet", "RoleList")},
    "AuthEnable": _method("Auth", "AuthEnable", writes=True),
    **{name: _method("Auth", name, f"Auth{name}", writes=True) for name in _AUTH_CHANGES},
}

_PACKAGE = "etcdserverpb"
_FIELD = descriptor_pb2.FieldDescriptorProto


def _declare(proto: descriptor_pb2.DescriptorProto, package: str, text: str) -> None:
    """Add the field ``name:number:type`` to a message's descriptor."""
    name, number, kind = text.lstrip("*").split(":")
    label = _FIELD.LABEL_REPEATED if text.startswith("*") else _FIELD.LABEL_OPTIONAL
    if kind[0].isupper():
        type_name, type_number = f".{package}.{kind}", _FIELD.TYPE_MESSAGE
    else:
        type_name, type_number = None, _FIELD.Type.Value(f"TYPE_{kind.upper()}")
    proto.field.add(name=name, number=int(number), label=label, type=type_number, type_name=type_name)


def message_classes(package: str, table: Mapping[str, str]) -> dict[str, Any]:
    """The classes of a table of messages, as ``FIELDS`` is one, by name."""
    file = descriptor_pb2.FileDescriptorProto(name=f"calico/{package}.proto", package=package, syntax="proto2")
    for name, fields in table.items():
        proto = file.message_type.add(name=name)
        for text in fields.split():
            _declare(proto, package, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"{package}.{name}")) for name in table}


_CLASSES = message_classes(_PACKAGE, FIELDS)


def raw_key(key: str) -> bytes:
    """The bytes of a key; the inverse of ``key_of`` for every key, also one that is not UTF-8."""
    return key.encode("utf-8", "surrogateescape")


def key_of(raw: bytes) -> str:
    """A key as text. Bytes that are not UTF-8 become lone surrogates: no two keys look the same."""
    return raw.decode("utf-8", "surrogateescape")


def message(name: str) -> Any:
    """The class of the message ``name``; KeyError when it is not in the table."""
    return _CLASSES[name]
