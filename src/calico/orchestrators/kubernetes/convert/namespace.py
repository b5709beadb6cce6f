"""Namespaces and service accounts to profiles, which give their labels to endpoints (data model §12)."""

from __future__ import annotations

from collections.abc import Mapping

from calico.model.meta import Metadata
from calico.model.policy import Profile, ProfileSpec, Rule

__all__ = ["namespace_to_profile", "service_account_to_profile"]


def namespace_to_profile(name: str, labels: Mapping[str, str]) -> Profile:
    """``kns.<name>``: allows all, and gives every namespace label with the prefix ``pcns.``."""
    given = {f"pcns.{key}": value for key, value in labels.items()}
    given["pcns.projectcalico.org/name"] = name
    allow = (Rule(action="Allow"),)
    spec = ProfileSpec(ingress=allow, egress=allow, labels_to_apply=given)
    return Profile(kind="Profile", metadata=Metadata(name=f"kns.{name}"), spec=spec)


def service_account_to_profile(namespace: str, name: str, labels: Mapping[str, str]) -> Profile:
    """``ksa.<namespace>.<name>``: no rules, gives every label of the account with the prefix ``pcsa.``."""
    given = {f"pcsa.{key}": value for key, value in labels.items()}
    given["pcsa.projectcalico.org/name"] = name
    metadata = Metadata(name=f"ksa.{namespace}.{name}")
    return Profile(kind="Profile", metadata=metadata, spec=ProfileSpec(labels_to_apply=given))
