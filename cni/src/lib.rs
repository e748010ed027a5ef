//! The chained CNI plugin that brings the gate into pods. Not written yet: an empty place, so that the
//! workspace has its final shape.
