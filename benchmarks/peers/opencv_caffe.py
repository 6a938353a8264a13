"""The network as Caffe's files in OpenCV 4, whose dnn module reads them; OpenCV 5 does not any more."""

from __future__ import annotations

from matnet.benchmarks.peers.base import Runner, Subject, imported
from matnet.benchmarks.peers.onnx_file import opencv_session
from matnet.errors import EngineError


def opencv_caffe_runner(subject: Subject) -> Runner:
    """OpenCV on the prototxt and caffemodel that the network is written as."""
    cv2 = imported("cv2", "'opencv-python-headless<5'")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise EngineError(f"OpenCV {cv2.__version__} reads no Caffe files; python -m pip install 'opencv-python<5'")
    from matnet.converters.export.to_caffe import to_caffe

    files = subject.folder / "net.prototxt", subject.folder / "net.caffemodel"
    wanted = subject.net.copy()
    wanted.layers = {layer.name: layer for layer in subject.net.upto([subject.output])}
    # The colours stay as they are: all engines are fed the same array.
    to_caffe(wanted, (subject.shape[2], subject.shape[3]), "rgb", subject.shape[0]).write(*files)
    return opencv_session(cv2, cv2.dnn.readNetFromCaffe(*map(str, files)), subject)
