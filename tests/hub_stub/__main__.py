"""A hub for trying things out by hand: python3 -m hub_stub microsoft/Florence-2-base=FOLDER ... [--port N] [--rate BYTES]"""
import argparse
import threading

from .hub import Hub


def main():
    parser = argparse.ArgumentParser(prog="hub_stub", description="A model hub on loopback; set HF_ENDPOINT to what it prints.")
    parser.add_argument("repository", nargs="+", metavar="OWNER/NAME=FOLDER")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=int, help="bytes a second of each transfer")
    parser.add_argument("--token", help="what clients have to show")
    arguments = parser.parse_args()
    hub = Hub(dict(pair.split("=", 1) for pair in arguments.repository), port=arguments.port, token=arguments.token)
    hub.rate = arguments.rate
    print(f"HF_ENDPOINT={hub.endpoint}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        hub.stop()


if __name__ == "__main__":
    main()
