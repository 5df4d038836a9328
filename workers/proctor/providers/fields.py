"""Reading parts of a provider's document whose shape is not to be trusted."""

from .. import sanitize


def part(doc, *path):
    """The value at a path of keys and indexes, None where the document has another shape."""
    for step in path:
        try:
            doc = doc[step]
        except (KeyError, IndexError, TypeError):
            return None
    return doc


def tokens(prompt, output, reasoning, total, added):
    """(input, output, reasoning, note) with the reasoning counted once, inside the output.

    added: whether this provider is known to count reasoning beside the output; the total, where
    told, decides. Numbers that are none, or out of range, count as 0 and are named in the note.
    """
    strange = []
    prompt = _count(prompt, "input", strange)
    output = _count(output, "output", strange)
    reasoning = _count(reasoning or 0, "reasoning", strange)
    if reasoning:
        beyond_prompt = total - prompt if type(total) is int else None
        if beyond_prompt == output + reasoning or reasoning > output:
            output += reasoning
        elif beyond_prompt != output and added:
            output += reasoning
    note = f"provider told no usable count for: {', '.join(strange)}" if strange else None
    return prompt, min(output, sanitize.INT64_MAX), reasoning, note


def _count(number, what, strange):
    if type(number) is int and 0 <= number <= sanitize.INT64_MAX:
        return number
    if type(number) is float and number.is_integer() and 0 <= number < 2.0**63:
        return int(number)
    strange.append(what)
    return 0
