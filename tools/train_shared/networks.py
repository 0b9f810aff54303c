"""What the small networks have in common."""

from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel


def start_like_dit(transformer):
    """As DiT starts: each block adds nothing at first, the head gives zero."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
            if ".norm" in name or name.startswith("norm_out") or name == "proj_out":
                nn.init.zeros_(module.weight)
            if name.startswith("time_text_embed"):
                nn.init.normal_(module.weight, std=0.02)


def make_clip(tokenizer, width, intermediate, layers):
    eos = tokenizer.eos_token_id
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=intermediate, projection_dim=width,
        num_hidden_layers=layers, num_attention_heads=4, max_position_embeddings=77, hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id, eos_token_id=eos, pad_token_id=eos))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())
