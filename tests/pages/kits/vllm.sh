# after: shoes
# The shop's model as it is served: what a server of vLLM holds.
recalign export runs/shoes --to merged --output served
