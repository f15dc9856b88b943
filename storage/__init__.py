"""What is kept: points, their catalogue, and the stores that hold them. Imports neither collectors nor dashboard."""
