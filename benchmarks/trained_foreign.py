"""A network that nobody here wrote, trained on the images at hand, saved as its own library does.

python -m benchmarks.trained_foreign --data /path/to/imagenette --out runs/mobilenetv2 --epochs 12

A MobileNetV2 of half width from `transformers`, 128 pixels; `save_pretrained` writes what
`mobilemod export --network hf:DIR` takes. What int8 loses on it is told by `mobilemod validate`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F

from mobilemod.data.imagefolder import read_split
from mobilemod.data.preprocess import Preprocess
from mobilemod.progress import progress
from mobilemod.training.config import TrainConfig
from mobilemod.training.images import Batches, load_images, predict
from mobilemod.training.optimizer import cosine_rate, weight_groups

RAW = argparse.RawTextHelpFormatter
SIZE, BATCH, RATE, DECAY = 128, 64, 3e-3, 0.05
PREPROCESS = Preprocess(size=SIZE, crop_fraction=0.875)
PROCESSOR = {
    "do_resize": True, "size": {"shortest_edge": 146}, "resample": 3, "do_center_crop": True,
    "crop_size": {"height": SIZE, "width": SIZE}, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": list(PREPROCESS.mean), "image_std": list(PREPROCESS.std),
    "image_processor_type": "MobileNetV2ImageProcessor",
}  # fmt: skip


def train(data: Path, out: Path, epochs: int, seed: int = 0) -> float:
    """Train and save; top-1 in percent on all validation images, which chose nothing."""
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    ids = tuple(sorted(p.name for p in (data / "train").iterdir() if p.is_dir()))
    names = dict(enumerate(ids))
    folder = read_split(data, "train", ids, len(ids))
    model = MobileNetV2ForImageClassification(
        MobileNetV2Config(
            image_size=SIZE, depth_multiplier=0.5, num_labels=len(names), id2label=names,
            label2id={v: k for k, v in names.items()}, tf_padding=False,
        )
    ).to(memory_format=torch.channels_last)  # fmt: skip
    images = load_images(folder, "reading train")
    config = TrainConfig(seed=seed, batch_size=BATCH)
    batches = Batches(images, BATCH, seed, config, PREPROCESS)
    optimizer = torch.optim.AdamW(weight_groups(model.parameters(), DECAY), lr=RATE)
    for epoch in progress(range(epochs), "training", epochs, "epoch"):
        model.train()
        for step, (x, y) in enumerate(batches.epoch(epoch, SIZE)):
            at = epoch + step / batches.per_epoch
            for group in optimizer.param_groups:
                group["lr"] = cosine_rate(at, 0.5, epochs, RATE, 1e-5)
            optimizer.zero_grad()
            logits = model(pixel_values=x.contiguous(memory_format=torch.channels_last)).logits
            F.cross_entropy(logits, y, label_smoothing=0.1).backward()
            optimizer.step()
    model.eval().save_pretrained(out)
    (out / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=1), "utf-8")
    val = load_images(read_split(data, "val", ids, len(ids)), "reading val", PREPROCESS)
    parts = (val.pixels[i : i + BATCH] for i in range(0, len(val.targets), BATCH))
    outputs = predict(lambda v: model(pixel_values=v).logits, parts, PREPROCESS)
    return 100.0 * float((outputs.argmax(1) == val.targets).mean())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RAW)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    top1 = train(args.data, args.out, args.epochs)
    print(f"{args.out}: top-1 {top1:.2f} % after {args.epochs} epochs")


if __name__ == "__main__":
    main()
