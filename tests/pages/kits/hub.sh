# after: nano
# after: checkpoints
# Two runs with results whose models can be pushed: `shoes-qwen` is tuned on a model of a hub, `shoes` on a directory.
for run in "shoes-qwen Qwen/Qwen2.5-0.5B" "shoes models/my-instruct-model"; do
    read -r name backbone <<< "$run"
    sed "s#RUN#$name#; s#BACKBONE#$backbone#" "$REPOSITORY/tests/pages/kits/hub.toml" > hub.toml
    recalign run hub.toml --output "runs/$name"
done
