"""The site that the example of load tests loads."""

from fastapi import FastAPI

app = FastAPI()
bought: list[str] = []


@app.get("/")
async def shelf() -> dict[str, list[str]]:
    return {"items": ["tea", "coffee"]}


@app.post("/cart", status_code=201)
async def buy(item: dict[str, str]) -> None:
    bought.append(item["item"])


@app.get("/bought")
async def all_of_them() -> list[str]:
    return bought
