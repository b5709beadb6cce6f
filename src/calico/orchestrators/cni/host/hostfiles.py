"""What files of the host say about it, as Calico's plugin reads them: which Node it is, and the containers' MTU."""

from __future__ import annotations

from pathlib import Path

from calico.errors import InvalidInput
from calico.orchestrators.cni.protocol.fault import TRY_AGAIN, PluginError
from calico.orchestrators.cni.protocol.netconf import NetConf

__all__ = ["mtu_of", "node_of"]


def node_of(config: NetConf, default: str) -> str:
    """The network's ``nodename``, else what is in its ``nodename_file``, else its ``hostname``, else the default.
    PluginError 11 while a file is not there that is not optional: whoever registers the host writes it."""
    if config.nodename or not config.nodename_file:
        return config.nodename or config.hostname or default
    stored = _read(config.nodename_file)
    if not stored and not config.nodename_file_optional:
        raise PluginError(TRY_AGAIN, f"nodename_file: {config.nodename_file} does not say which Node this host is")
    if "/" in stored:
        raise InvalidInput(f"{stored!r} is not the name of a Node", subject=config.nodename_file)
    return stored or config.hostname or default


def mtu_of(config: NetConf, path: str) -> int:
    """The network's ``mtu``, else what is in the file at ``path``, else 0: the kernel's default. PluginError 11 while
    the file is not there and the network has ``require_mtu_file``."""
    if config.mtu:
        return config.mtu
    stored = _read(path)
    if not stored:
        if config.require_mtu_file:
            raise PluginError(TRY_AGAIN, f"require_mtu_file: {path} does not say the MTU")
        return 0
    if not stored.isdecimal() or not 68 <= int(stored) <= 65535:
        raise InvalidInput(f"{stored!r} is not an MTU (68 to 65535)", subject=path)
    return int(stored)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(TRY_AGAIN, f"{path} cannot be read: {error}") from None
