"""The load test: how many active users does a build carry?"""
