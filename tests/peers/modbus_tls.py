"""A third-party meter behind Modbus/TCP Security (pymodbus): Modbus TCP inside TLS.

One meter, unit 1: int64 Wh at holding register 3203, float32 kW at 3059, float32 V at 3027. A line
of JSON is printed for each connection and each request: {"asked": FUNCTION}.

usage: modbus_tls.py PORT CERTIFICATE KEY [--clients CA] [--tls12]
--clients CA: only clients that this authority signed are heard; --tls12: nothing newer is spoken.
"""
import argparse
import asyncio
import json
import ssl
import struct

from pymodbus.server import StartAsyncTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice

SHOWN = {
    3027: list(struct.unpack(">HH", struct.pack(">f", 230.125))),
    3059: list(struct.unpack(">HH", struct.pack(">f", 98.5))),
    3203: list(struct.unpack(">HHHH", struct.pack(">q", 87_600_123_456))),
}


async def show(function, start, _address, _count, registers, _written):
    print(json.dumps({"asked": function}), flush=True)
    for address, words in SHOWN.items():
        for offset, word in enumerate(words):
            if 0 <= address + offset - start < len(registers):
                registers[address + offset - start] = word


def main():
    options = argparse.ArgumentParser()
    options.add_argument("port", type=int)
    options.add_argument("certificate")
    options.add_argument("key")
    options.add_argument("--clients")
    options.add_argument("--tls12", action="store_true")
    options = options.parse_args()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(options.certificate, options.key)
    if options.tls12:
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
    if options.clients:
        tls.load_verify_locations(options.clients)
        tls.verify_mode = ssl.CERT_REQUIRED
    registers = SimData(3000, values=[0] * 300, datatype=DataType.REGISTERS)
    device = SimDevice(1, simdata=[registers], action=show)
    address = ("127.0.0.1", options.port)
    asyncio.run(StartAsyncTlsServer(device, address=address, sslctx=tls))


if __name__ == "__main__":
    main()
