#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
"""A network in a TUN device: what is sent to its second address comes back to the first as if from the second, later, or not at all.

reflector.py NAME FIRST SECOND [--delay-ms N] [--lose N]: --lose: of the segments with data to the second address each Nth is lost the first time.
Prints a line when it is up.
"""
import argparse
import collections
import fcntl
import os
import select
import socket
import struct
import subprocess
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--lose", type=int, default=0)
    args = parser.parse_args()
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", args.name.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "address", "add", f"{args.first}/30", "dev", args.name], check=True)
    subprocess.run(["ip", "link", "set", args.name, "up"], check=True)
    print("up", flush=True)
    waiting, with_data, second, lost = collections.deque(), 0, socket.inet_aton(args.second), set()
    requests = set()  # ports that connect: theirs are the client's segments
    while True:
        limit = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        if select.select([tun], [], [], limit)[0]:
            packet = bytearray(os.read(tun, 65536))
            if packet[0] >> 4 != 4 or packet[16:20] != second:
                continue
            head = (packet[0] & 15) * 4
            data = len(packet) - head - (packet[head + 12] >> 4) * 4 if packet[9] == socket.IPPROTO_TCP else 0
            port, sequence = bytes(packet[head:head + 2]), bytes(packet[head + 4:head + 8])
            if packet[9] == socket.IPPROTO_TCP and packet[head + 13] & 0x12 == 2:
                requests.add(port)
            if args.lose and data and port in requests and sequence not in lost:
                with_data += 1
                if with_data % args.lose == 0:
                    lost.add(sequence)
                    continue
            packet[12:16], packet[16:20] = packet[16:20], packet[12:16]  # checksums stay right
            waiting.append((time.monotonic() + args.delay_ms / 1000, bytes(packet)))
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(tun, waiting.popleft()[1])


if __name__ == "__main__":
    main()
