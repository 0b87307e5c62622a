"""A node of simhall's virtual hall (a third party's Redfish service, by uvicorn) at the root of a
port of its own. Its control plane stays under /sim: POST /sim/faults makes it leak."""

import sys

import uvicorn
from simhall.golden import build_golden
from simhall.server import create_app


def main() -> None:
    node, port = sys.argv[1], int(sys.argv[2])
    hall = create_app(lambda: build_golden("hall-b"))

    async def root(scope, receive, send):
        if scope["type"] == "http" and scope["path"].startswith("/redfish"):
            path = f"/dev/{node}{scope['path']}"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await hall(scope, receive, send)

    uvicorn.run(root, host="127.0.0.1", port=port, log_level="info")


main()
