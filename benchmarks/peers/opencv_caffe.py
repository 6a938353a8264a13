"""The network as Caffe files in OpenCV 4; OpenCV 5 can no longer read them."""

from __future__ import annotations

from matnet.benchmarks.peers.base import Runner, Subject, imported
from matnet.benchmarks.peers.onnx_file import opencv_session
from matnet.errors import EngineError


def opencv_caffe_runner(subject: Subject) -> Runner:
    """OpenCV on the network saved as prototxt and caffemodel."""
    cv2 = imported("cv2", "'opencv-python-headless<5'")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise EngineError(f"OpenCV {cv2.__version__} cannot read Caffe files; python -m pip install 'opencv-python<5'")
    from matnet.converters.export.to_caffe import to_caffe

    files = subject.folder / "net.prototxt", subject.folder / "net.caffemodel"
    wanted = subject.net.copy()
    wanted.layers = {layer.name: layer for layer in subject.net.upto([subject.output])}
    # Keep the channel order: all engines get the same array.
    to_caffe(wanted, (subject.shape[2], subject.shape[3]), "rgb", subject.shape[0]).write(*files)
    return opencv_session(cv2, cv2.dnn.readNetFromCaffe(*map(str, files)), subject)
