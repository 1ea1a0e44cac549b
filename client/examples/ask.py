#!/usr/bin/env python3
"""Asks questions from any language: one JSON object a line in, one a line out.

    python3 client/examples/ask.py target/release/subrosa net/network.toml tumour in.csv

Standard library only. The subrosa process keeps one client, so that its cover
traffic runs on between questions and nothing on the wire tells when one is asked.
"""

import csv
import json
import subprocess
import sys


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__.strip())
    program, network, model, path = sys.argv[1:]
    with open(path, newline="") as file:
        questions = [[float(cell) for cell in row] for row in csv.reader(file) if row]
    asker = subprocess.Popen(
        [program, "ask", "--network", network, "--json", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for number, numbers in enumerate(questions):
        line = {"id": number, "model": model, "input": numbers}
        asker.stdin.write(json.dumps(line) + "\n")
    asker.stdin.close()
    failed = 0
    # Answers come as they arrive, not in the order of the questions.
    for line in asker.stdout:
        answer = json.loads(line)
        if "error" in answer:
            failed += 1
            print(f"{answer.get('id')}: {answer['error']['message']}")
        else:
            print(f"{answer['id']}: {answer['label']} ({answer['latency_ms']['total']:.0f} ms)")
    sys.exit(1 if failed or asker.wait() else 0)


if __name__ == "__main__":
    main()
