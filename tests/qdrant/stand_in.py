"""A stand-in for a Qdrant server, for Privet's tests where there is no server. It is not Qdrant's server.

It speaks the part of Qdrant's gRPC that Privet uses, and hands each call to the local mode of Qdrant's client for Python: Qdrant's own
second implementation of what its server does, exact and in memory. Payload indexes, the HNSW graph, replicas and what is durable are
therefore not tested with it. Prints `listening on http://127.0.0.1:PORT` when it is ready.
"""

import argparse
import threading
import warnings
from concurrent import futures

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc import collections_service_pb2_grpc, points_service_pb2_grpc

# Says that payload indexes have no effect here.
warnings.simplefilter("ignore")

NO_TIME = 0.0
# The local mode is not made for threads.
LOCK = threading.Lock()


class Refusal(Exception):
    """What is answered instead."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def answering(method):
    """One call at a time; an error of the local mode is the error that a server gives."""

    def call(self, request, context):
        try:
            with LOCK:
                return method(self, request)
        except Refusal as refusal:
            context.abort(refusal.code, str(refusal))
        except Exception as error:  # noqa: BLE001: whatever is wrong with the request
            context.abort(code_of(str(error)), f"Wrong input: {error}")

    return call


def code_of(message):
    if "already exists" in message:
        return grpc.StatusCode.ALREADY_EXISTS
    if message.startswith("Collection") and "not found" in message:
        return grpc.StatusCode.NOT_FOUND
    return grpc.StatusCode.INVALID_ARGUMENT


def selected(request, vectors=True):
    """What of a point is wanted. A server gives no payload and no vectors unless they are asked for."""
    wanted = {"with_payload": False}
    if request.HasField("with_payload"):
        wanted["with_payload"] = GrpcToRest.convert_with_payload_interface(request.with_payload)
    if vectors and request.HasField("with_vectors"):
        wanted["with_vectors"] = GrpcToRest.convert_with_vectors_selector(request.with_vectors)
    return wanted


def filter_of(request):
    return GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None


def completed():
    return pb.PointsOperationResponse(
        result=pb.UpdateResult(operation_id=0, status=pb.UpdateStatus.Completed), time=NO_TIME
    )


class Collections(collections_service_pb2_grpc.CollectionsServicer):
    def __init__(self, client):
        self.client = client

    @answering
    def CollectionExists(self, request):
        exists = self.client.collection_exists(request.collection_name)
        return pb.CollectionExistsResponse(result=pb.CollectionExists(exists=exists), time=NO_TIME)

    @answering
    def Create(self, request):
        vectors = {}
        if request.HasField("vectors_config"):
            vectors = GrpcToRest.convert_vectors_config(request.vectors_config)
        sparse = GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config)
        self.client.create_collection(request.collection_name, vectors_config=vectors, sparse_vectors_config=sparse)
        return pb.CollectionOperationResponse(result=True, time=NO_TIME)

    @answering
    def Delete(self, request):
        deleted = self.client.delete_collection(request.collection_name)
        return pb.CollectionOperationResponse(result=deleted, time=NO_TIME)

    @answering
    def Get(self, request):
        if not self.client.collection_exists(request.collection_name):
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{request.collection_name}` doesn't exist!")
        params = self.client.get_collection(request.collection_name).config.params
        answer = pb.CollectionParams(shard_number=1)
        if params.vectors:
            answer.vectors_config.CopyFrom(RestToGrpc.convert_vectors_config(params.vectors))
        if params.sparse_vectors:
            answer.sparse_vectors_config.CopyFrom(RestToGrpc.convert_sparse_vector_config(params.sparse_vectors))
        info = pb.CollectionInfo(
            status=pb.CollectionStatus.Green, segments_count=1, config=pb.CollectionConfig(params=answer)
        )
        return pb.GetCollectionInfoResponse(result=info, time=NO_TIME)


class Points(points_service_pb2_grpc.PointsServicer):
    def __init__(self, client):
        self.client = client

    @answering
    def CreateFieldIndex(self, request):
        # It has none: every search looks at everything.
        if not self.client.collection_exists(request.collection_name):
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{request.collection_name}` doesn't exist!")
        return completed()

    @answering
    def CreateVectorName(self, request):
        dense = request.dense_config
        size, distance = dense.size, GrpcToRest.convert_distance(dense.distance)
        config = models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=size, distance=distance))
        self.client.create_vector_name(request.collection_name, request.vector_name, config)
        return completed()

    @answering
    def DeleteVectorName(self, request):
        self.client.delete_vector_name(request.collection_name, request.vector_name)
        return completed()

    @answering
    def UpdateBatch(self, request):
        operations = [GrpcToRest.convert_points_update_operation(operation) for operation in request.operations]
        self.client.batch_update_points(request.collection_name, operations)
        done = pb.UpdateResult(operation_id=0, status=pb.UpdateStatus.Completed)
        return pb.UpdateBatchResponse(result=[done] * len(operations), time=NO_TIME)

    @answering
    def Get(self, request):
        ids = [GrpcToRest.convert_point_id(one) for one in request.ids]
        records = self.client.retrieve(request.collection_name, ids, **selected(request))
        return pb.GetResponse(result=[RestToGrpc.convert_retrieved_point(record) for record in records], time=NO_TIME)

    @answering
    def Count(self, request):
        counted = self.client.count(request.collection_name, count_filter=filter_of(request))
        return pb.CountResponse(result=pb.CountResult(count=counted.count), time=NO_TIME)

    @answering
    def Scroll(self, request):
        offset = GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None
        records, following = self.client.scroll(
            request.collection_name,
            scroll_filter=filter_of(request),
            limit=request.limit or 10,
            offset=offset,
            **selected(request),
        )
        answer = pb.ScrollResponse(result=[RestToGrpc.convert_retrieved_point(record) for record in records], time=NO_TIME)
        if following is not None:
            answer.next_page_offset.CopyFrom(RestToGrpc.convert_extended_point_id(following))
        return answer

    @answering
    def Query(self, request):
        found = self.client.query_points(
            request.collection_name,
            query=GrpcToRest.convert_query(request.query),
            using=request.using or None,
            query_filter=filter_of(request),
            limit=request.limit or 10,
            **selected(request),
        )
        return pb.QueryResponse(result=[RestToGrpc.convert_scored_point(point) for point in found.points], time=NO_TIME)


def refusing_strangers(key):
    """Answers only those that send the key, as a server with one does."""

    class Gate(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):
            if dict(details.invocation_metadata).get("api-key") == key:
                return continuation(details)

            def refuse(_request, context):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key or an Authorization bearer token")

            return grpc.unary_unary_rpc_method_handler(refuse)

    return Gate()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--api-key")
    arguments = parser.parse_args()
    client = QdrantClient(":memory:")
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=8),
        interceptors=[refusing_strangers(arguments.api_key)] if arguments.api_key else [],
        # Points with long vectors are longer than what gRPC takes by itself.
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)],
    )
    collections_service_pb2_grpc.add_CollectionsServicer_to_server(Collections(client), server)
    points_service_pb2_grpc.add_PointsServicer_to_server(Points(client), server)
    port = server.add_insecure_port(arguments.listen)
    server.start()
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
