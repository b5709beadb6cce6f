"""Kubernetes: conversion of its objects into Calico resources."""
