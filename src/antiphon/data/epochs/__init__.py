"""What an epoch is made of: drawing.py its order and shares, encoding.py its ids, data_report.py its counts; sampled.py
draws a sample of a corpus for a tokenizer."""
