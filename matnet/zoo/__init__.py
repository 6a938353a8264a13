"""The zoo: model cards, and finding, fetching, checking and converting what they describe."""
