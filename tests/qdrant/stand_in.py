"""A stand-in for a Qdrant server, for Privet's tests where there is no server. It is not Qdrant's server.

It speaks the part of Qdrant's gRPC that Privet uses, and hands each call to one shard of `qdrant-edge`: Qdrant's own storage engine in the
process. So filters, conditional writes, sparse vectors with IDF, payload indexes, named vectors and the HNSW graph are Qdrant's. What is
the server's alone is not tested with it: its checks of requests, its write-ahead log, replicas, several shards, and what it survives.
Prints `listening on http://127.0.0.1:PORT` when it is ready.
"""

import argparse
import tempfile
import threading
from concurrent import futures

import grpc
import qdrant_edge as edge
from qdrant_client import grpc as pb
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc import collections_service_pb2_grpc, points_service_pb2_grpc

NO_TIME = 0.0
# After so many updates the segments are optimised, as a server does beside: payload indexes and the graph come into use.
UPDATES_UNTIL_OPTIMISED = 50
# One call at a time.
LOCK = threading.Lock()


class Refusal(Exception):
    """What is answered instead."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def answering(method):
    """An error of the engine is the error that a server gives."""

    def call(self, request, context):
        try:
            with LOCK:
                return method(self, request)
        except Refusal as refusal:
            context.abort(refusal.code, str(refusal))
        except Exception as error:  # noqa: BLE001: whatever is wrong with the request
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Wrong input: {error}")

    return call


class Collection:
    """A shard, with what a server knows of it."""

    def __init__(self, request):
        self.sparse = dict(request.sparse_vectors_config.map)
        self.dense = {}
        self.updates = 0
        # Removed with this value.
        self.folder = tempfile.TemporaryDirectory(prefix="privet-qdrant-")
        modifiers = {pb.Modifier.Idf: edge.Modifier.Idf}
        sparse = {
            name: edge.EdgeSparseVectorParams(modifier=modifiers.get(params.modifier))
            for name, params in self.sparse.items()
        }
        hnsw = edge.HnswIndexConfig(
            m=request.hnsw_config.m,
            ef_construct=100,
            full_scan_threshold=10_000,
            payload_m=request.hnsw_config.payload_m or None,
        )
        config = edge.EdgeConfig(vectors={}, sparse_vectors=sparse, hnsw_config=hnsw)
        self.shard = edge.EdgeShard.create(self.folder.name, config)

    def update(self, operation):
        self.shard.update(operation)
        self.updates += 1
        if self.updates % UPDATES_UNTIL_OPTIMISED == 0:
            self.shard.optimize()

    def close(self):
        self.shard.close()
        self.folder.cleanup()


class Shelf:
    """All collections."""

    def __init__(self):
        self.collections = {}

    def get(self, request):
        name = request.collection_name
        if name not in self.collections:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!")
        return self.collections[name]


def condition_of(condition):
    kind = condition.WhichOneof("condition_one_of")
    if kind == "filter":
        return filter_of(condition.filter)
    if kind != "field":
        raise ValueError(f"the stand-in knows no condition `{kind}`")
    field = condition.field
    if field.HasField("range"):
        bounds = {name: getattr(field.range, name) for name in ("gt", "gte", "lt", "lte") if field.range.HasField(name)}
        return edge.FieldCondition(field.key, range=edge.RangeFloat(**bounds))
    kind = getattr(field, "match").WhichOneof("match_value")
    value = getattr(getattr(field, "match"), kind)
    if kind == "keyword":
        return edge.FieldCondition(field.key, match=edge.MatchValue(value))
    if kind == "keywords":
        return edge.FieldCondition(field.key, match=edge.MatchAny(list(value.strings)))
    raise ValueError(f"the stand-in knows no match `{kind}`")


def filter_of(found):
    parts = {name: [condition_of(one) for one in getattr(found, name)] for name in ("must", "should", "must_not")}
    return edge.Filter(**{name: conditions or None for name, conditions in parts.items()})


def optional_filter(request, field="filter"):
    return filter_of(getattr(request, field)) if request.HasField(field) else None


def id_of(point_id):
    return GrpcToRest.convert_point_id(point_id)


def vector_of(vector):
    kind = vector.WhichOneof("vector") if hasattr(vector, "WhichOneof") else None
    if kind == "sparse":
        return edge.SparseVector(list(vector.sparse.indices), list(vector.sparse.values))
    return list(vector.dense.data)


def point_of(point):
    vectors = {name: vector_of(vector) for name, vector in point.vectors.vectors.vectors.items()}
    return edge.Point(id_of(point.id), vectors, GrpcToRest.convert_payload(point.payload))


def found_vectors(vectors):
    named = pb.NamedVectorsOutput()
    for name, vector in (vectors or {}).items():
        if isinstance(vector, edge.SparseVector):
            named.vectors[name].sparse.indices.extend(vector.indices)
            named.vectors[name].sparse.values.extend(vector.values)
        else:
            named.vectors[name].dense.data.extend(vector)
    return pb.VectorsOutput(vectors=named)


def record_of(record):
    return pb.RetrievedPoint(
        id=RestToGrpc.convert_extended_point_id(str(record.id)),
        payload=RestToGrpc.convert_payload(record.payload or {}),
        vectors=found_vectors(record.vector),
    )


def selected(request):
    """What of a point is wanted. A server gives no payload and no vectors unless they are asked for."""
    payload = request.with_payload.include.fields if request.HasField("with_payload") else []
    vectors = request.with_vectors.include.names if request.HasField("with_vectors") else []
    return {"with_payload": list(payload) or False, "with_vector": list(vectors) or False}


def completed():
    return pb.PointsOperationResponse(
        result=pb.UpdateResult(operation_id=0, status=pb.UpdateStatus.Completed), time=NO_TIME
    )


class Collections(collections_service_pb2_grpc.CollectionsServicer):
    def __init__(self, shelf):
        self.shelf = shelf

    @answering
    def CollectionExists(self, request):
        exists = request.collection_name in self.shelf.collections
        return pb.CollectionExistsResponse(result=pb.CollectionExists(exists=exists), time=NO_TIME)

    @answering
    def Create(self, request):
        name = request.collection_name
        if name in self.shelf.collections:
            message = f"Wrong input: Collection `{name}` already exists!"
            raise Refusal(grpc.StatusCode.ALREADY_EXISTS, message)
        self.shelf.collections[name] = Collection(request)
        return pb.CollectionOperationResponse(result=True, time=NO_TIME)

    @answering
    def Delete(self, request):
        collection = self.shelf.collections.pop(request.collection_name, None)
        if collection:
            collection.close()
        return pb.CollectionOperationResponse(result=collection is not None, time=NO_TIME)

    @answering
    def Get(self, request):
        collection = self.shelf.get(request)
        params = pb.CollectionParams(shard_number=1)
        for name, (size, distance) in collection.dense.items():
            params.vectors_config.params_map.map[name].CopyFrom(pb.VectorParams(size=size, distance=distance))
        for name, sparse in collection.sparse.items():
            params.sparse_vectors_config.map[name].CopyFrom(sparse)
        info = pb.CollectionInfo(
            status=pb.CollectionStatus.Green, segments_count=1, config=pb.CollectionConfig(params=params)
        )
        return pb.GetCollectionInfoResponse(result=info, time=NO_TIME)


class Points(points_service_pb2_grpc.PointsServicer):
    def __init__(self, shelf):
        self.shelf = shelf

    @answering
    def CreateFieldIndex(self, request):
        kind = request.field_index_params.WhichOneof("index_params")
        params = getattr(request.field_index_params, kind)
        given = {field.name: value for field, value in params.ListFields()}
        made = {
            "uuid_index_params": edge.UuidIndexParams,
            "keyword_index_params": edge.KeywordIndexParams,
            "integer_index_params": edge.IntegerIndexParams,
        }[kind](**given)
        self.shelf.get(request).update(edge.UpdateOperation.create_field_index(request.field_name, made))
        return completed()

    @answering
    def CreateVectorName(self, request):
        collection, dense = self.shelf.get(request), request.dense_config
        if request.vector_name in collection.dense:
            message = f"Wrong input: Vector with name {request.vector_name} already exists"
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)
        distance = {pb.Distance.Cosine: edge.Distance.Cosine}[dense.distance]
        collection.update(edge.UpdateOperation.create_dense_vector(request.vector_name, dense.size, distance))
        collection.dense[request.vector_name] = (dense.size, dense.distance)
        return completed()

    @answering
    def DeleteVectorName(self, request):
        collection = self.shelf.get(request)
        collection.update(edge.UpdateOperation.delete_vector_name(request.vector_name))
        collection.dense.pop(request.vector_name, None)
        return completed()

    @answering
    def UpdateBatch(self, request):
        collection = self.shelf.get(request)
        modes = {
            pb.UpdateMode.Upsert: edge.UpdateMode.Upsert,
            pb.UpdateMode.InsertOnly: edge.UpdateMode.InsertOnly,
            pb.UpdateMode.UpdateOnly: edge.UpdateMode.UpdateOnly,
        }
        for operation in request.operations:
            kind = operation.WhichOneof("operation")
            if kind == "upsert":
                upsert = operation.upsert
                collection.update(
                    edge.UpdateOperation.upsert_points(
                        [point_of(point) for point in upsert.points],
                        condition=optional_filter(upsert, "update_filter"),
                        update_mode=modes[upsert.update_mode],
                    )
                )
            elif kind == "delete_points":
                selection = filter_of(operation.delete_points.points.filter)
                collection.update(edge.UpdateOperation.delete_points_by_filter(selection))
            else:
                raise ValueError(f"the stand-in knows no operation `{kind}`")
        done = pb.UpdateResult(operation_id=0, status=pb.UpdateStatus.Completed)
        return pb.UpdateBatchResponse(result=[done] * len(request.operations), time=NO_TIME)

    @answering
    def Get(self, request):
        records = self.shelf.get(request).shard.retrieve([id_of(one) for one in request.ids], **selected(request))
        return pb.GetResponse(result=[record_of(record) for record in records], time=NO_TIME)

    @answering
    def Count(self, request):
        count = self.shelf.get(request).shard.count(edge.CountRequest(exact=True, filter=optional_filter(request)))
        return pb.CountResponse(result=pb.CountResult(count=count), time=NO_TIME)

    @answering
    def Scroll(self, request):
        scroll = edge.ScrollRequest(
            offset=id_of(request.offset) if request.HasField("offset") else None,
            limit=request.limit or 10,
            filter=optional_filter(request),
            **selected(request),
        )
        records, following = self.shelf.get(request).shard.scroll(scroll)
        answer = pb.ScrollResponse(result=[record_of(record) for record in records], time=NO_TIME)
        if following is not None:
            answer.next_page_offset.CopyFrom(RestToGrpc.convert_extended_point_id(str(following)))
        return answer

    @answering
    def Query(self, request):
        nearest = request.query.nearest
        if nearest.WhichOneof("variant") == "sparse":
            vector = edge.SparseVector(list(nearest.sparse.indices), list(nearest.sparse.values))
        else:
            vector = list(nearest.dense.data)
        found = self.shelf.get(request).shard.query(
            edge.QueryRequest(
                request.limit or 10,
                query=edge.Query.Nearest(vector, using=request.using or None),
                filter=optional_filter(request),
                **selected(request),
            )
        )
        points = [
            pb.ScoredPoint(
                id=RestToGrpc.convert_extended_point_id(str(point.id)),
                payload=RestToGrpc.convert_payload(point.payload or {}),
                score=point.score,
                version=point.version,
            )
            for point in found
        ]
        return pb.QueryResponse(result=points, time=NO_TIME)


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
    shelf = Shelf()
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=8),
        interceptors=[refusing_strangers(arguments.api_key)] if arguments.api_key else [],
        # Points with long vectors are longer than what gRPC takes by itself.
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)],
    )
    collections_service_pb2_grpc.add_CollectionsServicer_to_server(Collections(shelf), server)
    points_service_pb2_grpc.add_PointsServicer_to_server(Points(shelf), server)
    port = server.add_insecure_port(arguments.listen)
    server.start()
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
