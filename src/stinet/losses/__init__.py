"""What training minimises, one term a file; `total.Losses` weighs and adds them."""
