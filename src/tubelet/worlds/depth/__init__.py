"""The world in depth: bodies that fall, roll, hit and hide, seen by a moving camera, in closed form."""
