"""A sender written from docs/formats/wire.md alone, with nothing but Python's standard library.

It sends a schema and ten seconds of one meter's register, as a stranger would: protobuf by hand, in
a zstd frame of one raw block. Prints the acks, one JSON line each.

With a folder of ca.pem, certificate.pem and key.pem it comes by TLS, as whoever they name.

usage: stranger.py PORT HUB METER START_MS [TLS_FOLDER]
"""
import hashlib
import http.client
import json
import os
import ssl
import sys


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def zigzag(value):
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def number(field, value):
    return varint(field << 3) + varint(value) if value else b""


def signed(field, value):
    return varint(field << 3) + zigzag(value)


def block(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def packed(field, values):
    return block(field, b"".join(zigzag(value) for value in values))


def differences(values):
    return [values[0]] + [b - a for a, b in zip(values, values[1:])]


def zstd(plain):
    """RFC 8878: magic, single segment with a 4-byte content size, one raw last block."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0b1010_0000]) + len(plain).to_bytes(4, "little")
    return header + (len(plain) << 3 | 1).to_bytes(3, "little") + plain


def ask(port, method, path, body):
    if len(sys.argv) > 5:
        tls = ssl.create_default_context(cafile=f"{sys.argv[5]}/ca.pem")
        tls.load_cert_chain(f"{sys.argv[5]}/certificate.pem", f"{sys.argv[5]}/key.pem")
        connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=tls)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body)
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status >= 300:
        sys.exit(f"{method} {path}: {answer.status} {text}")
    return text


def main(port, hub, meter, start):
    register = number(1, 3_600_000) + number(2, 1) + number(4, 2_000_000_000) \
        + number(5, 7) + number(6, 1) + number(7, 5_000)  # a meter in Wh
    subject = block(1, meter) + number(2, 5) + block(6, register)
    series = number(2, 1)                                  # subject 0, energy_register
    schema = number(1, 1) + block(2, hub) + block(3, "stranger") + block(4, "stranger.py") \
        + block(5, subject) + block(6, number(1, 1_000) + block(2, series))
    schema_id = hashlib.sha256(schema).digest()
    ask(port, "PUT", f"/v1/schemas/{schema_id.hex()}", zstd(schema))

    epoch = os.urandom(16)
    rows = [(start + 1_000 * i, 87_600_123_456 + 37 * i) for i in range(11)]
    for sequence, part in enumerate((rows[:6], rows[6:]), start=1):
        times, counts = zip(*part)
        column = packed(1, differences(counts))
        matrix = packed(2, differences(times)) + block(3, column)
        batch = number(1, 1) + block(2, hub) + block(3, "stranger") + block(4, epoch) \
            + number(5, sequence) + block(6, schema_id) + signed(7, times[-1]) + block(8, matrix)
        body = zstd(batch)
        ack = json.loads(ask(port, "POST", "/v1/batches", body))
        assert ack["epoch"] == epoch.hex() and ack["sequence"] == str(sequence)
        assert ack["hash"] == hashlib.sha256(body).hexdigest()
        again = json.loads(ask(port, "POST", "/v1/batches", body))
        assert again["verdict"] == "duplicate"
        print(json.dumps(ack), flush=True)


main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
