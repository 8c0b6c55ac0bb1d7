from mlflow import pyfunc as pyfunc
