# after: shoes
# after: checkpoints
# A LoRA on a model of a hub, and runs that have models by name.
recalign tune --data data/shoes --backbone Qwen/Qwen2.5-0.5B --shots 16 --set max_steps=2 --output runs/shoes-qwen
