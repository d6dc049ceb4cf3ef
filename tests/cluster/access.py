"""Who may do what: bearer tokens of service accounts, held to the Roles that are bound to them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from tests.cluster.store import StatusError, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.store import Object


class Access:
    """Who comes without a token may do everything: Go's client sends none in plain HTTP."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._accounts: dict[str, tuple[str, str]] = {}

    def token_of(self, namespace: str, account: str) -> str:
        """Return a token of a service account."""
        token = secrets.token_urlsafe(16)
        self._accounts[token] = (namespace, account)
        return token

    def check(self, token: str, verb: str, group: str, resource: str, namespace: str) -> None:
        """Raise StatusError unless the owner of a token may do this; `resource` may be pods/log."""
        if not token:
            return
        if token not in self._accounts:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        account = self._accounts[token]
        for rule in self._rules(account, namespace):
            groups, names = rule["apiGroups"], rule["resources"]
            if group in groups and resource in names and verb in rule["verbs"]:
                return
        user = ":".join(("system:serviceaccount", *account))
        what = f'cannot {verb} resource "{resource}" in API group "{group}"'
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        raise StatusError(403, "Forbidden", f'User "{user}" {what} {where}')

    def _rules(self, account: tuple[str, str], namespace: str) -> Iterator[Object]:
        for binding in self._store.list("rolebindings", namespace=namespace):
            subjects = [(each["namespace"], each["name"]) for each in binding["subjects"]]
            if account in subjects:
                name = binding["roleRef"]["name"]
                yield from self._store.get("roles", name, namespace)["rules"]
