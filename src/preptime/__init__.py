"""preptime: when will the food be ready?"""
