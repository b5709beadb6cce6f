"""Selectors as they are evaluated: namespaces and service accounts folded into one expression (spec §14).

Labels of an endpoint's namespace carry the prefix ``pcns.``, those of its service account ``pcsa.``. The combination
is done on text, including the replacement of ``all()``, since that is how the field does it; so
``selector: all()`` together with a namespace selector means "in a namespace", never "host endpoints too".
"""

from __future__ import annotations

from calico.errors import InvalidInput
from calico.model.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    NetworkPolicy,
    NetworkPolicySpec,
    ServiceAccountMatch,
)
from calico.model.selector import Selector, parse
from calico.model.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy

__all__ = ["NAMESPACE_LABEL", "SERVICE_ACCOUNT_LABEL", "entity_selector", "policy_selector"]

NAMESPACE_LABEL = "projectcalico.org/namespace"
SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount"
NAMESPACE_PREFIX = "pcns."
SERVICE_ACCOUNT_PREFIX = "pcsa."


def policy_selector(
    policy: NetworkPolicy | GlobalNetworkPolicy | StagedNetworkPolicy | StagedGlobalNetworkPolicy,
) -> Selector:
    """What endpoints a policy applies to; InvalidInput when one of its selectors does not parse."""
    if isinstance(policy, GlobalNetworkPolicy | StagedGlobalNetworkPolicy):
        return parse(_global_policy_text(policy.spec))
    return parse(_namespaced_policy_text(policy.spec, policy.metadata.namespace))


def _namespaced_policy_text(spec: NetworkPolicySpec, namespace: str) -> str:
    text = _in_namespace(namespace)
    if selector := _given(spec.selector):
        text = f"({selector}) && {text}"
    return _and_prefixed(text, spec.service_account_selector, SERVICE_ACCOUNT_PREFIX)


def _global_policy_text(spec: GlobalNetworkPolicySpec) -> str:
    text = _given(spec.selector)
    if spec.namespace_selector:
        text = _and_prefixed(text, spec.namespace_selector, NAMESPACE_PREFIX)
        text = text.replace("all()", f"has({NAMESPACE_LABEL})")
    if spec.service_account_selector:
        text = _and_prefixed(text, spec.service_account_selector, SERVICE_ACCOUNT_PREFIX)
        text = text.replace("all()", f"has({SERVICE_ACCOUNT_LABEL})")
    return text


def entity_selector(entity: EntityRule, namespace: str) -> tuple[Selector | None, Selector | None]:
    """What one side of a rule must be selected by, and what it must not be; ``namespace`` is the policy's, or empty.

    None means no restriction. A negative selector is returned only when there is no positive one to fold it into; it
    is then also true of addresses that belong to nothing known. InvalidInput when a selector does not parse.
    """
    text = " && ".join(
        f"({part})" for part in (_accounts_text(entity.service_accounts), _given(entity.selector)) if part
    )
    in_namespace = _namespace_text(entity.namespace_selector, namespace)
    if in_namespace and (text or entity.not_selector or entity.namespace_selector):
        text = f"({in_namespace}) && ({text})" if text else in_namespace
    negative = _given(entity.not_selector)
    if text and negative:
        return parse(f"({text}) && (!({negative}))"), None
    return parse(text) if text else None, parse(negative) if negative else None


def _namespace_text(selector: str, namespace: str) -> str:
    if not selector:
        return _in_namespace(namespace) if namespace else ""
    text = parse(selector).prefixed(NAMESPACE_PREFIX).canonical
    return text.replace("all()", f"has({NAMESPACE_LABEL})").replace("global()", f"!has({NAMESPACE_LABEL})")


def _accounts_text(accounts: ServiceAccountMatch | None) -> str:
    if accounts is None:
        return ""
    text = _and_prefixed("", accounts.selector, SERVICE_ACCOUNT_PREFIX)
    if not accounts.names:
        return text
    names = f"{SERVICE_ACCOUNT_LABEL} in {{{', '.join(map(_quoted, accounts.names))}}}"
    return f"({text}) && {names}" if text else names


def _and_prefixed(text: str, selector: str, prefix: str) -> str:
    if not selector:
        return text
    prefixed = parse(selector).prefixed(prefix).canonical
    return f"({text}) && {prefixed}" if text else prefixed


def _in_namespace(namespace: str) -> str:
    return f"{NAMESPACE_LABEL} == {_quoted(namespace)}"


def _given(selector: str) -> str:
    # Blank but not empty text is a selector of everything, and must stay one inside parentheses.
    return selector if not selector or selector.strip(" \t") else "all()"


def _quoted(value: str) -> str:
    if "'" in value:
        raise InvalidInput(f"the name {value!r} must not contain quotes")
    return f"'{value}'"
