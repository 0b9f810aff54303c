"""Puts the figures of `para bench cache` into a document: `cache_table.py CSV DOCUMENT HEADING` replaces the rows of the first table below it."""

import csv
import sys


def rows(path):
    with open(path, encoding="utf-8") as f:
        for a in csv.DictReader(f):
            hits, speed_up, flops = 100 * int(a["hits"]) / int(a["steps"]), float(a["speed_up"]), float(a["flops_ratio"])
            yield (f"| {a['taylorseer']} | {a['threshold']} | {hits:.1f} % | {flops:.2f} | {speed_up:.2f} | {speed_up / flops:.2f} | "
                   f"{float(a['psnr_db']):.1f} dB | {float(a['ssim']):.4f} | {float(a['worst_psnr_db']):.1f} dB, no. {a['worst_prompt']} |")


def main():
    source, document, heading = sys.argv[1:]
    with open(document, encoding="utf-8") as f:
        lines = f.read().split("\n")
    at = lines.index(heading)
    first = next(i for i in range(at, len(lines)) if lines[i].startswith("| ---")) + 1
    last = next(i for i in range(first, len(lines)) if not lines[i].startswith("|"))
    lines[first:last] = rows(source)
    with open(document, "w", encoding="utf-8") as f:
        f.write("\n".join(lines))


if __name__ == "__main__":
    main()
