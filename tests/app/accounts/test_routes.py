from __future__ import annotations

from tests.app.accounts.house import PASSWORD, House, bearer


async def test_a_person_registers_gets_tokens_and_is_known(house: House) -> None:
    registered = await house.http.post(
        "/api/v1/auth/register",
        json={"email": " Ada@Example.com ", "name": "Ada O'Hara", "password": PASSWORD},
    )
    assert registered.status_code == 201, registered.text
    assert registered.json()["email"] == "Ada@Example.com"
    tokens = await house.http.post(
        "/api/v1/auth/token", json={"email": "ADA@example.com", "password": PASSWORD}
    )
    assert tokens.status_code == 200, tokens.text
    assert tokens.headers["cache-control"] == "no-store"
    assert tokens.json()["expires_in"] == 900
    me = await house.http.get("/api/v1/me", headers=bearer(tokens.json()["access_token"]))
    assert me.status_code == 200
    assert me.json() == {
        "kind": "access",
        "id": registered.json()["id"],
        "email": "Ada@Example.com",
        "name": "Ada O'Hara",
        "is_admin": False,
        "scopes": ["admin", "ingest", "read", "triage"],
        "project": None,
    }
