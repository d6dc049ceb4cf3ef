"""Default deny: the method option that says who may call an RPC, and the check against it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool

from kit import errors

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

    from kit.auth import Principal

_OPTION = "elodrome.auth.v1.rule"
_LEASE_METHOD = "AcquireLease"


@dataclass(frozen=True)
class Rule:
    """Roles of which one suffices, and the scope a limited credential must carry, or nothing."""

    allow: frozenset[str]
    scope: str


def rule_of(method: MethodDescriptor) -> Rule | None:
    """Return the rule written at an RPC, or None where there is none."""
    try:
        option: Any = descriptor_pool.Default().FindExtensionByName(_OPTION)
    except KeyError:
        return None
    options = method.GetOptions()
    if not options.HasExtension(option):
        return None
    rule = options.Extensions[option]
    roles = rule.DESCRIPTOR.fields_by_name["allow"].enum_type.values_by_number
    scopes = rule.DESCRIPTOR.fields_by_name["scope"].enum_type.values_by_number
    return Rule(
        allow=frozenset(roles[number].name.removeprefix("ROLE_") for number in rule.allow),
        scope=scopes[rule.scope].name.removeprefix("SCOPE_") if rule.scope else "",
    )


@cache
def rule_of_path(path: str) -> Rule | None:
    """Return the rule of `/package.Service/Method`, or None where there is none."""
    try:
        method = descriptor_pool.Default().FindMethodByName(path.strip("/").replace("/", "."))
    except KeyError:
        return None
    return rule_of(method)


def check(path: str, caller: Principal) -> None:
    """Raise unless the rule of `/package.Service/Method` lets this caller in.

    UNAUTHENTICATED / TOKEN_MISSING asks for a credential; PERMISSION_DENIED refuses for want of a
    rule (NO_RULE), a role (ROLE_MISSING), a scope (SCOPE_MISSING) or a lease (LEASE_REQUIRED).
    """
    rule = rule_of_path(path)
    if rule is None:
        raise errors.permission_denied("nobody may call this", reason="NO_RULE")
    if "ANONYMOUS" in rule.allow:
        return
    if caller.kind == "anonymous":
        raise errors.unauthenticated("a token is needed", reason="TOKEN_MISSING")
    if not rule.allow & caller.roles:
        needed = ", ".join(sorted(rule.allow))
        raise errors.permission_denied(
            f"this needs one of the roles {needed}", reason="ROLE_MISSING", roles=needed
        )
    if rule.scope and caller.scopes and rule.scope not in caller.scopes:
        raise errors.permission_denied(
            f"this credential lacks the scope {rule.scope}",
            reason="SCOPE_MISSING",
            scope=rule.scope,
        )
    if caller.kind == "worker" and not caller.epoch and not path.endswith(f"/{_LEASE_METHOD}"):
        raise errors.permission_denied("a lease must be acquired first", reason="LEASE_REQUIRED")
