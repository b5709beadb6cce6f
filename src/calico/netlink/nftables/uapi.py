"""Numbers of the nf_tables interface: ``linux/netfilter/nf_tables.h``, ``nfnetlink.h``, libnftables' type ids."""

from __future__ import annotations

from typing import Final

# -- nfnetlink -----------------------------------------------------------------------------------------------------
SUBSYS_NFTABLES: Final = 10
BATCH_BEGIN: Final = 0x10
BATCH_END: Final = 0x11
BATCH_GENID: Final = 1
FAMILY: Final = {"inet": 1, "ip": 2, "netdev": 5, "ip6": 10}

# -- messages ------------------------------------------------------------------------------------------------------
NEWTABLE: Final = 0
GETTABLE: Final = 1
DELTABLE: Final = 2
NEWCHAIN: Final = 3
GETCHAIN: Final = 4
DELCHAIN: Final = 5
NEWRULE: Final = 6
GETRULE: Final = 7
DELRULE: Final = 8
NEWSET: Final = 9
GETSET: Final = 10
DELSET: Final = 11
NEWSETELEM: Final = 12
GETSETELEM: Final = 13
DELSETELEM: Final = 14
NEWGEN: Final = 15
GETGEN: Final = 16
NEWOBJ: Final = 18
GETOBJ: Final = 19
DELOBJ: Final = 20

# -- attributes ----------------------------------------------------------------------------------------------------
LIST_ELEM: Final = 1

TABLE_NAME: Final = 1
TABLE_FLAGS: Final = 2
TABLE_OWNER: Final = 7

CHAIN_TABLE: Final = 1
CHAIN_NAME: Final = 3
CHAIN_HOOK: Final = 4
CHAIN_POLICY: Final = 5
CHAIN_TYPE: Final = 7
HOOK_NUM: Final = 1
HOOK_PRIORITY: Final = 2

RULE_TABLE: Final = 1
RULE_CHAIN: Final = 2
RULE_EXPRESSIONS: Final = 4
RULE_USERDATA: Final = 7
EXPR_NAME: Final = 1
EXPR_DATA: Final = 2

SET_TABLE: Final = 1
SET_NAME: Final = 2
SET_FLAGS: Final = 3
SET_KEY_TYPE: Final = 4
SET_KEY_LEN: Final = 5
SET_DATA_TYPE: Final = 6
SET_DATA_LEN: Final = 7
SET_DESC: Final = 9
SET_ID: Final = 10
SET_USERDATA: Final = 13
SET_DESC_SIZE: Final = 1

ELEM_KEY: Final = 1
ELEM_DATA: Final = 2
ELEM_FLAGS: Final = 3
ELEM_USERDATA: Final = 6
ELEM_LIST_TABLE: Final = 1
ELEM_LIST_SET: Final = 2
ELEM_LIST_ELEMENTS: Final = 3

OBJ_NAME: Final = 2
OBJ_TYPE: Final = 3
OBJ_DATA: Final = 4
COUNTER_BYTES: Final = 1
COUNTER_PACKETS: Final = 2

DATA_VALUE: Final = 1
DATA_VERDICT: Final = 2
VERDICT_CODE: Final = 1
VERDICT_CHAIN: Final = 2

GEN_ID: Final = 1

# -- flags and values ----------------------------------------------------------------------------------------------
TABLE_F_OWNER: Final = 2
TABLE_F_PERSIST: Final = 4

OBJECT_COUNTER: Final = 1

SET_F_ANONYMOUS: Final = 0x1
SET_F_INTERVAL: Final = 0x4
SET_F_MAP: Final = 0x8
ELEM_F_INTERVAL_END: Final = 0x1
DATA_TYPE_VERDICT: Final = 0xFFFFFF00
DATA_LEN_VERDICT: Final = 16
"""What the kernel and libnftables tell for a verdict."""

HOOKS: Final = ("prerouting", "input", "forward", "output", "postrouting")
VERDICTS: Final = {"drop": 0, "accept": 1, "continue": -1, "jump": -3, "goto": -4, "return": -5}

# -- userdata, which the kernel only stores: libnftnl's type-length-values ------------------------------------------
UDATA_RULE_COMMENT: Final = 0
UDATA_SET_KEY_BYTEORDER: Final = 0
UDATA_SET_DATA_BYTEORDER: Final = 1
UDATA_SET_COMMENT: Final = 7
UDATA_ELEM_FLAGS: Final = 1
UDATA_ELEM_F_OPEN: Final = 1
BYTEORDER_HOST: Final = 1
BYTEORDER_BIG: Final = 2
UDATA_RULE_FINGERPRINT: Final = 0xCA
"""Ours: what libnftables does not know it ignores."""

# -- key types: libnftables' number, length in bytes, whether the kernel keeps them in host order -------------------
KEY_TYPES: Final = {
    "ipv4_addr": (7, 4, False),
    "ipv6_addr": (8, 16, False),
    "ether_addr": (9, 6, False),
    "inet_proto": (12, 1, False),
    "inet_service": (13, 2, False),
    "icmp_type": (14, 1, False),
    "mark": (19, 4, True),
    "icmpv6_type": (29, 1, False),
    "ifname": (41, 16, True),
}
KEY_TYPE_BITS: Final = 6
"""A concatenation's type number is its fields' numbers, each in this many bits, first field highest."""
