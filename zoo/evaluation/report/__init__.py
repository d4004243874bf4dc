"""What a person reads after training: one HTML page, plots as PNG, a model card.

page.html is made of facts (facts.py), figures (plots.py, inlined by svg.py) and pictures
(pictures.py); templates/base.html.j2 is the frame that every page of zoo shares.
"""
