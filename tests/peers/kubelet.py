"""A kubelet's PodResources service by the third-party gRPC server grpcio, on a unix socket.

At each List it answers what the file PODS says then, in protobuf's text format, encoded by protoc.
Without the file it refuses with UNAVAILABLE.

usage: kubelet.py SOCKET PODS
"""
import pathlib
import subprocess
import sys
from concurrent import futures

import grpc

HERE = pathlib.Path(__file__).parent
socket, pods = sys.argv[1], pathlib.Path(sys.argv[2])


def answer(_request: bytes, context: grpc.ServicerContext) -> bytes:
    try:
        text = pods.read_bytes()
    except FileNotFoundError:
        context.abort(grpc.StatusCode.UNAVAILABLE, "the kubelet is not ready")
    command = ["protoc", "--encode=v1.ListPodResourcesResponse", f"--proto_path={HERE}", "podresources.proto"]
    return subprocess.run(command, input=text, capture_output=True, check=True).stdout


# Without serializers requests and answers are bytes.
service = grpc.method_handlers_generic_handler("v1.PodResourcesLister", {"List": grpc.unary_unary_rpc_method_handler(answer)})
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((service,))
server.add_insecure_port(f"unix:{socket}")
server.start()
print("listening", flush=True)
server.wait_for_termination()
