"""Training a Qwen3-VL checkpoint folder on what `server/learn` exported: LoRA by supervised samples (`sft`), then by
preference pairs (`dpo`), each merged into a checkpoint folder of its own. `python -m server.finetune --help`.

Needs the extra `finetune`. Never the network: what these libraries would fetch or tell is switched off here, before any
of them is imported.
"""

import os

for _name in (
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "HF_HUB_DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
):
    os.environ[_name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads and a data loader's processes do not go together
