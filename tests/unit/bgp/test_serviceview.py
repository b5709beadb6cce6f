"""Which service addresses a host is told, and that any history ends where the last values alone would."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from calico.bgp.planning.serviceroutes import ServiceAddress
from calico.bgp.planning.serviceview import ServiceView
from calico.datastore.api import Update
from calico.model.kubernetes.services import (
    SOURCE_KEY,
    EndpointSliceRecord,
    ServiceKey,
    ServiceRecord,
    SliceEndpoint,
    SliceKey,
    encode_record,
    service_path,
)

TELLS = (SOURCE_KEY, b"{}")
WEB = (
    service_path(ServiceKey("shop", "web")),
    encode_record(ServiceRecord(external_ips=("192.0.2.7",), local_only=True)),
)


def _slice(name: str, *endpoints: SliceEndpoint) -> tuple[str, bytes]:
    return service_path(SliceKey("shop", "web", name)), encode_record(EndpointSliceRecord((), endpoints))


def _view(*changes: tuple[str, bytes | None]) -> ServiceView:
    view = ServiceView("a")
    for path, value in changes:
        view.apply([Update(path, value, 1)])
    return view


def _here(*changes: tuple[str, bytes | None]) -> bool:
    routes = _view(TELLS, WEB, *changes).routes()
    assert routes is not None
    (address,) = routes.addresses
    assert address == ServiceAddress(kind="external", address="192.0.2.7", local_only=True, here=address.here)
    return address.here


MINE, NOT_READY = SliceEndpoint(("10.65.0.1",), "a"), SliceEndpoint(("10.65.0.1",), "a", False)
OTHERS = SliceEndpoint(("10.65.1.1",), "b")


def test_while_nobody_tells_services_nothing_is_known_of_them() -> None:
    assert _view(WEB).routes() is None
    assert _view(TELLS, WEB, (SOURCE_KEY, None)).routes() is None


def test_a_service_is_here_while_any_of_its_slices_has_a_ready_endpoint_on_this_host() -> None:
    assert not _here()
    assert _here(_slice("s", OTHERS, MINE))
    assert not _here(_slice("s", OTHERS, NOT_READY))
    assert _here(_slice("s", MINE), _slice("t", MINE), _slice("s", NOT_READY))
    assert not _here(_slice("s", MINE), _slice("t", MINE), _slice("s"), (_slice("t")[0], None))


def test_a_value_that_cannot_be_read_is_absent_and_named() -> None:
    assert not _here(_slice("s", MINE), (_slice("s")[0], b"?"))
    routes = _view(TELLS, WEB, (WEB[0], b'{"clusterIPs":7}')).routes()
    assert routes is not None
    assert (routes.addresses, [problem.object for problem in routes.problems]) == ((), ["Service shop/web"])


VALUES = st.sampled_from([None, b"?", *(_slice("s", *some)[1] for some in ((), (MINE,), (NOT_READY, OTHERS)))])
CHANGES = st.one_of(
    st.tuples(st.sampled_from([_slice("s")[0], _slice("t")[0]]), VALUES),
    st.tuples(st.just(WEB[0]), st.sampled_from([None, b"[]", WEB[1], b"{}"])),
    st.tuples(st.just(SOURCE_KEY), st.sampled_from([None, b"{}"])),
)


@given(st.lists(CHANGES, max_size=20))
def test_any_history_ends_where_the_last_values_alone_lead(history: list[Any]) -> None:
    assert _view(*history).routes() == _view(*dict(history).items()).routes()
