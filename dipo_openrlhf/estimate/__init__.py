"""What a recipe needs: GPU memory and time, and `dipo doctor`."""
